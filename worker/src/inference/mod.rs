//! Serving a model: generating, and scoring.
