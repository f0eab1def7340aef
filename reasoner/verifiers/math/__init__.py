"""The verifier `math`: both sides are read into typed trees and compared as values."""
