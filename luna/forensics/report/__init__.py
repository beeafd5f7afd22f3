"""The report: the whole line on one HTML page that opens offline."""
