"""Networks of the zoo against the frameworks' own."""
