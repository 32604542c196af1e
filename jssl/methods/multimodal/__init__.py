"""Methods of two modalities: images and their captions."""
