//! Lease, prepare, infer, conclude: the only room with both data and model in hand.
