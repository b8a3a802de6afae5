"""Programs written for other optimisers, run against asktell. Each module needs its package only where it is used."""
