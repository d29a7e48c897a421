"""From a folder of images to a data set: verified, judged, freed of duplicates, split; each removal with a reason."""
