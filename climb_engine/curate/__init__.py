"""Documents to domains: each module is functions over arrays, and none of them imports another."""
