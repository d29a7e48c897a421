"""Serving: an API and a studio that draw images with the current champion, and change to the next one while they run."""
