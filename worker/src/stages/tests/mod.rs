//! Whole stages on tiny models in temporary workspaces.
