"""Methods of two modalities: images and their captions, images and their sound."""
