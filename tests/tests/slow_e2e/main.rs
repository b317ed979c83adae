//! Tests that take minutes or programs of their own, each with a command of its own: `make test-kueue`, `make test-node-loss`.

mod kueue;

mod node_loss;
