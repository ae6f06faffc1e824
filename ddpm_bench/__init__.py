"""A DDPM (Ho et al. 2020) on MindSpore, and the command line."""
