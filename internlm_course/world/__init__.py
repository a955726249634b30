"""The micro-world: what is asked in it, its web pages and their noise, the crawl, labels and conversations of it.

The pipeline (data/) meets it in files, as a laboratory meets the web: neither imports the other.
"""
