"""What the HTTP ingress and the admin API share: listening, the guard against web pages, errors as Connect's JSON."""
