//! Publications of fake runs, read back as a user would read them.

mod fixture;

mod tables;

mod republish;

mod documents;

mod funnel;
