//! Model packages: manifests, digests, and what is live.
