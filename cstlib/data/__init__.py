"""Episodes and where they come from; nothing here knows of models.

``episode`` holds the two data types, ``sampler`` draws episodes from lists of names,
``voc`` loads their pixels, and ``mini`` draws the built-in benchmark Mini-5i.
``pascal``, ``coco`` and ``own`` prepare real data for them: ``download``, ``archives``
and ``obtain`` fetch originals, ``list_rule`` makes lists from masks, ``published`` says
whether they are the benchmark's.
"""
