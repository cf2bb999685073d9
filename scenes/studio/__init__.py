"""The studio: what `scenes/make_teatime.py` models, lights and films with Blender's `bpy`; see scenes/README.md."""
