"""Writes what in the deployment files follows from the code: processes, ports, settings, rules.

``python -m infra.deploy.manifests.build`` writes the files; a test says when they are out of date.
"""
