//! Holds a place on this machine for a test cluster and clears it when the one who asked is gone.

fn main() {
    scalequest_tests::kubernetes::keeper::keep();
}
