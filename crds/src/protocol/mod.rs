//! What operator and worker say to each other: the operator writes a [`task`] for each stage, the worker reads and writes [`rows`],
//! commits [`manifest`]s, and answers with a [`report`], its [`progress`] and an exit code ([`exit_codes`]). Before a run is accepted, a
//! worker answers with what it found ([`preflight`]); a [`profile`] says how fast a machine is. Work is addressed by [`content_key`]s.
//! None of it is part of the API: it may change with every version, and operator and worker are of one version.

pub mod task;

pub mod rows;

pub mod manifest;

pub mod report;

pub mod preflight;

pub mod profile;

pub mod progress;

pub mod exit_codes;

pub mod content_key;
