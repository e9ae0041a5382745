//! Whole proxies in a mesh.
