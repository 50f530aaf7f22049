"""The documentation as a site: pages of the repository and generated ones, put together and built by Zensical."""
