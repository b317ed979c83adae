//! Publications of runs made up by seeded code, read back as a user would read them.

mod fixture;

mod tables;

mod replacing;

mod documents;

mod funnel;
