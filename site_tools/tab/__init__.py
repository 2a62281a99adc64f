"""What the site serves for its cells: Pyodide, the package, the torch subset, models and widgets."""
