"""What the service promises: nothing is lost whatever is killed, and it answers under load; real servers, one run."""
