"""Import: other programs' conversations read by their content, mended by stated rules, counted before they are kept."""
