//! The controller: executes the planner's plan with Jobs. Each reconcile observes the run's objects ([`observe`]), decides the next actions
//! without a client or a clock ([`decide`], [`resources`]) and applies them ([`apply`]). [`mod@reconcile`] is the table of contents; only
//! [`controller`] knows the watches.

mod clock;

pub mod settings;

pub mod names;

pub mod controller;

pub mod reconcile;

pub mod context;

pub mod watched_run;

pub mod observe;

pub mod decide;

pub mod resources;

pub mod apply;

pub mod metrics;

pub mod serve;

pub mod leader_election;

pub mod run;
