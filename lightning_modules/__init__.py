"""Lightning modules, data modules and callbacks; usable without the search engine."""
