"""Making of renditions from saved files, in processes of their own.

Must not know jobs, the ledger, fal or its key: `make_rendition` takes a file and a recipe, and
gives a file.
"""
