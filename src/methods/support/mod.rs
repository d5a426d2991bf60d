//! Pieces that several methods share: paths, reductions to words and cells, settings.
