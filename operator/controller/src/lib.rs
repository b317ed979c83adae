//! A run in a cluster: the planner's plan, executed by Jobs. Four steps, in order: what is there is read ([`observe`]), what follows is
//! decided without a client or a clock ([`decide`], [`resources`]), and done ([`apply`]). [`reconcile`] is the table of contents; only
//! [`controller`] knows what is watched.

mod clock;

pub mod settings;

pub mod names;

pub mod indexes;

pub mod api_requests;

pub mod controller;

pub mod reconcile;

pub mod context;

pub mod observe;

pub mod decide;

pub mod resources;

pub mod apply;

pub mod metrics;

pub mod serve;

pub mod leader_election;

pub mod operate;
