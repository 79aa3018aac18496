"""HTTP for people and programs: what the ingress and the console share; knows no resource."""
