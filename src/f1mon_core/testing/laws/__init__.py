"""The laws, one room for each verb."""
