#!/bin/sh
# test of greet.sh: sh greet.sh Ada
echo "Hello, $1"
