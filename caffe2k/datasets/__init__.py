"""Whole data sets of Datum records: looked into, averaged, and written in other forms."""
