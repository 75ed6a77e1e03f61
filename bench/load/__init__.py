"""What the load tests are made of. All but `bench/locustfile.py` does without Locust."""
