"""One adapter a collection, and what they share; `lib.data.load` calls them by name."""
