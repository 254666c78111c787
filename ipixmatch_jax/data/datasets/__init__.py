"""Where records come from: a file for every kind of data set."""
