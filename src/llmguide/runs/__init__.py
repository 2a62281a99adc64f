"""Run folders, options and reports that the projects and the command line share."""
