"""Episodes and where they come from; nothing here knows of models.

``episode`` holds the two data types, ``sampler`` draws episodes from lists of names,
``voc`` loads their pixels, and ``mini`` draws the built-in benchmark Mini-5i.
"""
