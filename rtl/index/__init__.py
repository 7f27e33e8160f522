"""Which KV blocks attention needs: units that find out, by coverage or by forecast."""
