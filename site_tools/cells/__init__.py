"""The code of the pages: run and compared, in torch and in the tab's runtime, and written as notebooks."""
