"""How accurate a deployment is over everything that can fail, exactly or by sampling."""
