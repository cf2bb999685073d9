"""Small networks that codecs and laws are made of."""
