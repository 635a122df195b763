"""What stage 6 shows: results files, the page, plots, comparisons."""
