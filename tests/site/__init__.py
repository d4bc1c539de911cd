"""The documents as a site: built with warnings as errors, and looked over."""
