//! xseg: see ARCHITECTURE.md.
