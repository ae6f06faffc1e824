"""The judge: checks of any DDPM against independent mathematics. It has never seen MindSpore."""
