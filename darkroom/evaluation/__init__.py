"""Evaluation: generate, describe, score; look for copies of training images; one page that says what was found."""
