"""A simulated cluster: what runs cost and an allocation come in; makespan, utilisation and lost hours go out."""
