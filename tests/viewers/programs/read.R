# Prints what hdf5r reads: Rscript read.R FILE PLACE FILE PLACE ..., a line of JSON each.
suppressMessages(library(hdf5r))
arguments <- commandArgs(trailingOnly = TRUE)
cat(sprintf('{"version": "%s"}\n', packageVersion("hdf5r")))
for (at in seq(1, length(arguments), 2)) {
  cat(tryCatch({
    file <- H5File$new(arguments[[at]], mode = "r")
    value <- file[[arguments[[at + 1]]]]$read()
    file$close_all()
    if (is.data.frame(value)) value <- as.vector(t(as.matrix(value)))
    if (is.complex(value)) value <- as.vector(rbind(Re(value), Im(value)))
    if (is.factor(value)) value <- as.integer(value == "TRUE")
    if (is.logical(value)) value <- as.integer(value)
    words <- if (is.character(value)) value else format(as.vector(value), digits = 17, trim = TRUE, scientific = NA)
    words <- gsub("\n", "\\\\n", gsub('"', '\\\\"', gsub("\\\\", "\\\\\\\\", words)))
    sprintf('{"value": [%s]}\n', paste0('"', words, '"', collapse = ", "))
  }, error = function(problem) {
    sprintf('{"error": "%s"}\n', gsub("[\"\\\\[:cntrl:]]", " ", conditionMessage(problem)))
  }))
}
