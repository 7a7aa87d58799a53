"""Where records come from: the port `Source`, its kinds, and the paging protocol."""
